// Keeps what is typed while an answer of the server replaces a form: idiomorph would overwrite it.

Idiomorph.defaults.ignoreActiveValue = true;
