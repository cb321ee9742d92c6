"""An answer: the poses of one person of one film, as it is kept in files and handed to others."""
