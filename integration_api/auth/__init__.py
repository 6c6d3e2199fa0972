"""Who calls: tokens, JWTs, client certificates, and the server's own TLS."""
