"""Where nano comes from: two pretrained towers, joined by a linear map that is taught here."""
