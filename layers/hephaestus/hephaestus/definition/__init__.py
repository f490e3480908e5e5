"""What a user writes: steps, targets, workflows. Checked when the class is defined; no AWS in sight."""
