"""What a domain's own code imports, and how its process is made and confined."""
