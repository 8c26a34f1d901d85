"""The lab daemon and what people touch: command line, HTTP API and client."""

__version__ = "0.1.0"
