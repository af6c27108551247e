import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { IssuedCertificate } from './pki.js'

/** What to ask `openssl verify`. */
export interface Verification {
  leaf: Pick<IssuedCertificate, 'pem'>
  untrusted: ReadonlyArray<Pick<IssuedCertificate, 'pem'>>
  trusted: ReadonlyArray<Pick<IssuedCertificate, 'pem'>>
  /** Trust anchors need not be self-signed. */
  partial?: boolean
  /** Default: now. */
  at?: number
}

export const hasOpenssl = spawnSync('openssl', ['version']).status === 0

/** OpenSSL's own word, as a TLS client has it at security level 2: `'ok'`, or the errors it names. */
export function verifyWithOpenssl({ leaf, untrusted, trusted, partial = false, at = Date.now() }: Verification): string {
  const folder = mkdtempSync(join(tmpdir(), 'verify-'))
  try {
    const file = (name: string, certificates: Verification['trusted']): string => {
      const path = join(folder, name)
      writeFileSync(path, certificates.map(({ pem }) => pem).join(''))
      return path
    }
    const { status, stderr } = spawnSync('openssl', [
      'verify', '-purpose', 'sslserver', '-auth_level', '2', '-attime', String(Math.floor(at / 1_000)), '-no-CAfile', '-no-CApath', '-no-CAstore',
      ...(partial ? ['-partial_chain'] : []),
      ...(trusted.length > 0 ? ['-trusted', file('trusted', trusted)] : []),
      ...(untrusted.length > 0 ? ['-untrusted', file('untrusted', untrusted)] : []),
      file('leaf', [leaf])
    ])
    return status === 0 ? 'ok' : stderr.toString().replaceAll(/.*(error \d+ at[^\n]*lookup: |error \d+ at \d+ depth lookup:)/g, '').trim() || `status ${status}`
  } finally {
    rmSync(folder, { recursive: true })
  }
}
