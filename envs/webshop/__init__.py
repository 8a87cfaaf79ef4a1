"""WebShop: shopping instructions on a simulated shop."""
