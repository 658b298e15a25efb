"""How near a picture is to the truth, pair by pair."""
