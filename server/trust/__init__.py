"""Who is of this cluster: its authority, certificates, keys, and how members join, renew and leave."""
