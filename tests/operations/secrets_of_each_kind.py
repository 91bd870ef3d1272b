"""One canary for each kind of secret, in the form that it has where it comes from."""

import base64

BODY = "5f0c9a3be81d4726"

CANARIES = {
    "user_token": "sntryu_" + BODY * 4,
    "integration_token": "sntryi_" + BODY[::-1] * 4,
    "app_token": "sntrya_" + "c0ffee12" * 8,
    "organization_token": "sntrys_eyJpYXQiOjE3MDAwMDAwMDAuMSwidXJsIjoiaHR0cHM6Ly9zZW50cnkuaW8ifQ==_pX9+kLm/Qz3vR7tYwB1",
    "old_token": "a1b2c3d4e5f60718" * 4,
    "api_key": "sg_abcdefgh2345_" + "mnopqrst" * 6 + "uvwx",
    "webhook_secret": "whsec_" + base64.b64encode(bytes(range(40, 72))).decode(),
    "jwt": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzb21lYm9keSJ9.Zm9vYmFyYmF6cXV4LXNpZ25hdHVyZQ",
    "keyring_key": base64.b64encode(bytes(range(90, 122))).decode(),
    "private_key": f"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqh{BODY}\nkiG9w0BA\n-----END PRIVATE KEY-----",
    "bearer": "Bearer opaque~" + "Zy8xWv7u" * 3,
    "basic": "Basic " + base64.b64encode(b"somebody:hunter2-hunter2-hunter2").decode(),
    "database": "postgresql://sentry:p@ss/w:rd-hunter2-hunter2@db.internal/graph",
    "cookie": "Cookie: __Host-session=Qm9hcmRpbmcgcGFzcw; other=U2Vjb25kIGNvb2tpZQ",
    "assignment": "password=correct-horse-battery-staple",
}
"""Texts that hold a secret, by its kind."""

SECRETS = CANARIES | {
    "private_key": f"MIIEvQIBADANBgkqh{BODY}",
    "bearer": "opaque~" + "Zy8xWv7u" * 3,
    "basic": base64.b64encode(b"somebody:hunter2-hunter2-hunter2").decode(),
    "database": "p@ss/w:rd-hunter2-hunter2",
    "cookie": "Qm9hcmRpbmcgcGFzcw",
    "assignment": "correct-horse-battery-staple",
}
"""The part of each text that nobody may read."""
