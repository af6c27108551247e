import * as https from 'node:https'
import type { Duplex } from 'node:stream'
import type { PinningError } from '../errors.js'
import { refusedSocket } from './refused-socket.js'

/** An agent whose every connection fails with one error: what a request is given that would go past the pins. */
export class RefusingAgent extends https.Agent {
  constructor(readonly error: PinningError, protocol: 'http:' | 'https:', readonly onRefusal: () => void) {
    super()
    ;(this as unknown as { protocol: string; defaultPort: number }).protocol = protocol
    ;(this as unknown as { protocol: string; defaultPort: number }).defaultPort = protocol === 'https:' ? 443 : 80
  }

  override createConnection(): Duplex {
    this.onRefusal()
    return refusedSocket(this.error)
  }
}
