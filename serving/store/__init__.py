"""The volume and the records: bytes as crash-safe files, facts about them in SQL tables."""
