"""RVC: speech, or singing, in another voice; content, pitch, retrieval and a synthesizer per voice."""
