"""DIMSE messages (PS3.7): command sets, assembly from fragments, status codes."""
