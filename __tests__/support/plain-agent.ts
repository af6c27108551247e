import * as https from 'node:https'
import { createPinningAgent } from '../../lib/index.js'
import type { PinningOptions, PoolOptions } from '../../lib/index.js'

/** Node's own agent with the settings of `https.globalAgent`, which is what axios uses when it is given none. */
export function plainAgent(ca: string | string[], pool: PoolOptions = {}): https.Agent {
  return new https.Agent({ keepAlive: true, scheduling: 'lifo', timeout: 5_000, ca, ...pool } as https.AgentOptions)
}

/** The pinned agent that should behave as {@link plainAgent} does. */
export function pinnedAgent(ca: string | string[], pins: NonNullable<PinningOptions['pins']>, pool: PoolOptions = {}): https.Agent {
  return createPinningAgent({ pins, tls: { ca }, agent: pool })
}
