/** A value that changes, for rendering: read it with `get`, and `subscribe` to learn of changes. */
export interface Store<T> {
  /** Return the value: the same object until something changes. */
  get(): T;
  /** Call `listener` after each change, until the returned function is called. */
  subscribe(listener: () => void): () => void;
}
