"""The only code that touches the operating system. No decisions here, and no AWS."""
