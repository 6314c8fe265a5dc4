/**
 * Maps items in order, up to `count` of them at once: hides round trips without holding everything in memory. What
 * rejects does so in its turn, after all before it.
 */
export async function* mapAhead<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  count: number,
  map: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const ahead: Promise<R>[] = []
  for await (const item of items) {
    const mapped = map(item)
    mapped.catch(() => undefined) // reported when its turn comes
    ahead.push(mapped)
    if (ahead.length >= count) yield (await ahead.shift()) as R
  }
  for (const mapped of ahead) yield await mapped
}
