"""The version, declared once: the package, its metadata and every compiled model carry it."""

VERSION = "0.1.0"
