"""Reading spans as OpenTelemetry's exporters send them (OTLP 1.x), in protobuf or JSON.

Only the few messages that carry spans are known; other fields are skipped, as protobuf demands. What is sent is a
stranger's: nesting, counts and sizes are bounded, and whatever is not whole is refused.
"""
