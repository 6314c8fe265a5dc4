import { Socket } from 'node:net'

/**
 * Loaded into a process of the program before it starts (`proxied.ts`): what it dials on one of these ports of this machine
 * it reaches by way of a proxy. So the links of one process can be bad while those of the others are good.
 */

const proxies = JSON.parse(process.env.STICKY_TEST_PROXIES ?? '{}') as Record<string, number>
const { connect } = Socket.prototype

Socket.prototype.connect = function (this: Socket, ...args: unknown[]) {
  // net.connect hands its own list of arguments over as the first one
  const list = (Array.isArray(args[0]) ? args[0] : args) as unknown[]
  const options = list[0] as { port?: number | string } | undefined
  const port = proxies[String(options?.port)]
  if (port !== undefined) list[0] = { ...options, port }
  return Reflect.apply(connect, this, args) as Socket
}
