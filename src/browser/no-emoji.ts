/**
 * Stands in for multiformats' base of 256 emoji, which nobody writes an address or a name in: a kilobyte of the page. The
 * list of all bases then has one less.
 */
export {}
