interface EventOptions {
  signal?: AbortSignal
  rejectionEvents?: string[]
  filter?(event: Event): boolean
}

/**
 * Stands in for `p-event` where libp2p waits for an event of a stream, a connection or a queue: resolves with it; rejects
 * with one of the others, or as the signal says. What else p-event can do is 1.2 kB of the page after compression.
 */
export function pEvent(
  target: EventTarget,
  name: string,
  { signal, rejectionEvents = ['error'], filter }: EventOptions = {},
): Promise<Event> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const others = rejectionEvents.filter((other) => other !== name)
    const end = () => {
      target.removeEventListener(name, onEvent)
      for (const other of others) target.removeEventListener(other, onOther)
      signal?.removeEventListener('abort', onAbort)
    }
    const onEvent = (event: Event) => {
      if (filter?.(event) === false) return
      end()
      resolve(event)
    }
    const onOther = (event: Event) => {
      end()
      reject(event)
    }
    const onAbort = () => {
      end()
      reject(signal?.reason)
    }
    target.addEventListener(name, onEvent)
    for (const other of others) target.addEventListener(other, onOther)
    signal?.addEventListener('abort', onAbort)
  })
}
