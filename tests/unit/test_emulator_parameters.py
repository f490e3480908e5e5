"""Parameters of the template that ``make deploy PARAMS=`` takes."""

from __future__ import annotations

import pytest

from tools.emulator import EmulatorError, read_parameters


def test_parameters_of_the_template_are_taken_whatever_their_values() -> None:
    assert read_parameters([]) == {}
    given = [
        "StepPolicyArn=arn:aws:iam::000000000000:policy/orders",
        "LogLevel=DEBUG",
        "LogMetadata=a=b,c",
        "KmsKeyArn=",
    ]
    assert read_parameters(given) == {
        "StepPolicyArn": "arn:aws:iam::000000000000:policy/orders",
        "LogLevel": "DEBUG",
        "LogMetadata": "a=b,c",
        "KmsKeyArn": "",
    }


@pytest.mark.parametrize("wrong", ["LogLevl=DEBUG", "LogLevel", "", "=x", "Type=String", "Parameters=x"])
def test_any_other_is_rejected_with_the_names_that_there_are(wrong: str) -> None:
    with pytest.raises(EmulatorError, match=r"is no parameter: write Name=value, with one of ApiAuthorization, .*"):
        read_parameters(["LogLevel=INFO", wrong])
