"""GraphiQL, served whole from here: no CDN, no inline script, nothing that a strict policy would have to allow."""
