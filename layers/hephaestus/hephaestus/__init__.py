"""Hephaestus: durable workflows on AWS Lambda and DynamoDB."""
