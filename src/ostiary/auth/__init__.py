"""Who presents a credential, and what it may do: look-up, proof, verdict, rate limit, usage. No HTTP."""
