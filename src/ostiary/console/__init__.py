"""The pages for people: sign-in, consent, the device page, the account. Plain forms that work without script."""
