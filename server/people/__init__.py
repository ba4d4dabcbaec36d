"""How people come in: passwords, second factors, passkeys, a provider, and the guard before all of them."""
