/**
 * Stands in for the bases of 2, 8 and 10 digits, and that of 256 emoji, which nobody writes an address or a name in: a
 * kilobyte of the page. multiformats' list of all bases then has four less.
 */
export {}
