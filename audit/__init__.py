"""The privacy audit: attackers trained afresh on what an anonymizer lets through; figures, verdict, certificate."""
