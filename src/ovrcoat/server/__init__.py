"""The HTTP server of `ovrcoat serve`: an API for programs, X-AnyLabeling's protocol, and a web page."""
