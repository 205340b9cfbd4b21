"""A server that streams words to many clients, and the page that it serves."""
