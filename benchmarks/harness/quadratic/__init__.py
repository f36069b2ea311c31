"""What the contestants in questions about batches of quadratic programs share."""
