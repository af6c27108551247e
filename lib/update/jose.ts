import type { KeyObject } from 'node:crypto'
import { loadModule } from '../policy/load-module.js'

/** The part of jose that is used. Not its own types: its package is ESM only, and declarations for CommonJS could not name them. */
export interface Jose {
  flattenedVerify(jws: { payload: string; protected: string; signature: string }, key: KeyObject, options: { algorithms: string[] }): Promise<{ payload: Uint8Array }>
  FlattenedSign: new (payload: Uint8Array) => {
    setProtectedHeader(header: { alg: string; kid: string; typ: string }): { sign(key: KeyObject): Promise<{ payload: string; protected?: string; signature: string }> }
  }
}

/** Loaded when first needed. */
export function loadJose(): Promise<Jose> {
  return loadModule('jose', () => import('jose') as unknown as Promise<Jose>)
}
