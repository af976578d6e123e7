// How changes of items end.

export type Outcome =
  | typeof DONE
  | typeof NOT_STORED
  | typeof EXISTS
  | typeof NOT_FOUND
  | typeof TOO_LARGE
  | typeof NO_MEMORY
  | typeof NOT_NUMBER;
export const DONE = 0;
/** The mode's condition did not hold. */
export const NOT_STORED = 1;
/** The cas number is another one. */
export const EXISTS = 2;
export const NOT_FOUND = 3;
export const TOO_LARGE = 4;
export const NO_MEMORY = 5;
/** The value to count with is no number. */
export const NOT_NUMBER = 6;
