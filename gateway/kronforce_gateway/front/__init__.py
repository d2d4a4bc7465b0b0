"""What every HTTP request passes before anybody answers it; `front.py` puts it together."""
