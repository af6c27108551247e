import { Socket } from 'node:net'
import { holdBytes } from './gate.js'

/** A socket that was never connected and fails with an error once the request listens: queues and time-outs see an ordinary failed connection. */
export function refusedSocket(error: Error): Socket {
  const socket = new Socket()
  holdBytes(socket)
  setImmediate(() => socket.destroy(error))
  return socket
}
