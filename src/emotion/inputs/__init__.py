"""Files to features: sound, pictures, faces, words, and where they are stored."""
