"""`agent doctor`: ordered checks from symptom to cause. Each looks at one thing, changes nothing, and says the fix."""
