"""The stack as CloudFormation would make it: a transformed template with every intrinsic function resolved.

Names that CloudFormation generates are made up; ARNs have the shape that each service gives them (Service Authorization
Reference). An intrinsic function that is not known here, or a reference to what the conditions leave out, raises.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

ACCOUNT: Final = "111122223333"
REGION: Final = "eu-west-1"
STACK: Final = "shop"
API_ID: Final = "abcde12345"
OWN: Final = "333344445555"  # the last part of the stack's UUID
PSEUDO: Final = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/0a1b2c3d-0000-1111-2222-{OWN}",
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com",
}
HERE: Final = f"{REGION}:{ACCOUNT}"
ARNS: Final = {
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{HERE}:table/{{}}",
    "AWS::Events::Rule": f"arn:aws:events:{HERE}:rule/{{}}",
    "AWS::IAM::ManagedPolicy": f"arn:aws:iam::{ACCOUNT}:policy/{{}}",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{{}}",
    "AWS::Lambda::Function": f"arn:aws:lambda:{HERE}:function:{{}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{HERE}:log-group:{{}}:*",
    "AWS::S3::Bucket": "arn:aws:s3:::{}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{HERE}:{{}}",
    "AWS::SecretsManager::Secret": f"arn:aws:secretsmanager:{HERE}:secret:{{}}-Ab12Cd",
}
NAMES: Final = ("FunctionName", "LogGroupName", "Name", "DashboardName", "LayerName")
NO_VALUE: Final = object()
VARIABLE: Final = re.compile(r"\$\{([^}]+)\}")


@dataclass
class Cloud:
    """A stack.

    Attributes:
        template: after the transform.
        given: the parameters that differ from their defaults.
    """

    template: dict[str, Any]
    given: dict[str, str]
    decided: dict[str, bool] = field(default_factory=dict)

    @cached_property
    def parameters(self) -> dict[str, str]:
        """Every parameter's value."""
        return {name: str(it.get("Default", "")) for name, it in self.template["Parameters"].items()} | self.given

    @cached_property
    def resources(self) -> dict[str, Any]:
        """The properties of every resource that there is, by its logical id."""
        known: dict[str, Any] = self.template["Resources"]
        return {name: self.resolve(it.get("Properties", {})) for name, it in known.items() if self.exists(name)}

    def of(self, kind: str) -> dict[str, Any]:
        """The properties of every resource of a type."""
        return {name: it for name, it in self.resources.items() if self.template["Resources"][name]["Type"] == kind}

    def exists(self, name: str) -> bool:
        """Whether a resource is made."""
        condition = self.template["Resources"][name].get("Condition")
        return condition is None or self.holds(condition)

    def holds(self, condition: str) -> bool:
        """Whether a condition is true."""
        if condition not in self.decided:
            self.decided[condition] = self._true(self.template["Conditions"][condition])
        return self.decided[condition]

    def arn(self, name: str) -> str:
        """A resource's ARN."""
        self._check(name)
        return ARNS[self.template["Resources"][name]["Type"]].format(self.name(name))

    def name(self, name: str) -> str:
        """A resource's own name: the one that it is given, or one like CloudFormation's."""
        self._check(name)
        properties = self.template["Resources"][name].get("Properties", {})
        given = [self.resolve(properties[key]) for key in NAMES if key in properties]
        bucket = self.template["Resources"][name]["Type"] == "AWS::S3::Bucket"
        made = f"{STACK}-{name}-A1B2C3D4E5F6"
        return str(given[0]) if given else made.lower() if bucket else made

    def resolve(self, node: Any) -> Any:
        """``node`` without intrinsic functions."""
        if isinstance(node, list):
            return [it for it in map(self.resolve, node) if it is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, given),) = node.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self._call(function, given)
        resolved = {key: self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not NO_VALUE}

    def _call(self, function: str, given: Any) -> Any:  # noqa: PLR0911 - one for each intrinsic function
        match function, given:
            case "Ref", _:
                return self._ref(given)
            case "Fn::GetAtt", str() | [_, _]:
                return self._attribute(*(given.split(".", 1) if isinstance(given, str) else given))
            case "Fn::If", [condition, then, otherwise]:
                return self.resolve(then if self.holds(condition) else otherwise)
            case "Fn::FindInMap", [mapping, first, second]:
                return self.template["Mappings"][mapping][str(self.resolve(first))][second]
            case "Fn::Join", [separator, parts]:
                return separator.join(map(str, self.resolve(parts)))
            case "Fn::Split", [separator, text]:
                return str(self.resolve(text)).split(separator)
            case "Fn::Select", [index, parts]:
                return self.resolve(parts)[int(index)]
            case "Fn::Sub", _:
                text, own = (given, {}) if isinstance(given, str) else given
                return VARIABLE.sub(lambda found: self._variable(found[1], own), text)
        message = f"{function} is not known here: {given!r}"
        raise ValueError(message)

    def _variable(self, name: str, own: dict[str, Any]) -> str:
        if name.startswith("!"):
            return f"${{{name[1:]}}}"
        if name in own:
            return str(self.resolve(own[name]))
        return str(self._attribute(*name.split(".", 1)) if "." in name else self._ref(name))

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        known = PSEUDO.get(name, self.parameters.get(name))
        if known is not None:
            return known
        match self.template["Resources"][name]["Type"]:
            case "AWS::SQS::Queue":
                return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{self.name(name)}"
            case "AWS::SecretsManager::Secret" | "AWS::IAM::ManagedPolicy":
                return self.arn(name)
            case "AWS::ApiGateway::RestApi":
                return API_ID
        return self.name(name)

    def _attribute(self, name: str, attribute: str) -> Any:
        return {"Arn": self.arn, "Id": self.arn, "QueueName": self.name}[attribute](name)

    def _true(self, node: Any) -> bool:
        match node:
            case {"Condition": str(name)}:
                return self.holds(name)
            case {"Fn::Equals": [left, right]}:
                return str(self.resolve(left)) == str(self.resolve(right))
            case {"Fn::Not": [inner]}:
                return not self._true(inner)
            case {"Fn::And": parts}:
                return all(map(self._true, parts))
            case {"Fn::Or": parts}:
                return any(map(self._true, parts))
        message = f"no condition: {node!r}"
        raise ValueError(message)

    def _check(self, name: str) -> None:
        if not self.exists(name):
            message = f"a reference to {name}, which these parameters leave out"
            raise ValueError(message)
