"""Deep Search: answer questions by searching and visiting. See README.md in this folder for the card."""
