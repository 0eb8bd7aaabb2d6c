"""The stages of a recipe: classifiers, the adversarial stage, attackers, reconstruction."""
