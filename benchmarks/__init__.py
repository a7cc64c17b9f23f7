"""What Regard claims about itself, as scripts that measure it: see README.md."""
