"""The file of a compressed network: coders, side information, speed, damage."""
