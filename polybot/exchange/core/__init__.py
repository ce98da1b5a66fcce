"""The exchange's engine and what decides beside it: values in, values out. Pure."""
