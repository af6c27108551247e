import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import type { KeyObject, X509Certificate } from 'node:crypto'
import { existsSync } from 'node:fs'
import writeFileAtomic from 'write-file-atomic'
import { pinOf } from '../../pin/spki.js'
import { readTextFile } from '../../formats/text-file.js'
import { certificateRequest } from '../../testing/pki.js'
import { CommandError, exitCode } from '../exit.js'
import { showText } from '../format.js'
import { namesOf } from './lineage.js'

/** The key that the next certificate is for. */
export interface NextKey {
  readonly pin: string
  readonly made: boolean
}

/**
 * Finds the next private key, or makes one of the same kind as the certificate's (mode 0600), and its certificate request
 * for the same names. A key that is in use already is used up: another one takes its place.
 *
 * @throws {CommandError} exit code 64 for a file that holds no private key, or a key that no such key can be made like
 */
export async function nextKey(certificate: X509Certificate, host: string, keyFile: string, requestFile: string): Promise<NextKey> {
  const found = existsSync(keyFile) ? readKey(keyFile) : undefined
  const unused = found && pinOf(found) !== pinOf(certificate) ? found : undefined
  const key = unused ?? makeLike(certificate.publicKey)
  if (unused === undefined) await writeFileAtomic(keyFile, key.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
  if (unused === undefined || !existsSync(requestFile)) {
    const names = namesOf(certificate)
    const request = certificateRequest({ privateKey: key, publicKey: createPublicKey(key) }, names.length > 0 ? names : [host])
    await writeFileAtomic(requestFile, request.pem)
  }
  return { pin: pinOf(key), made: unused === undefined }
}

function readKey(file: string): KeyObject {
  try {
    return createPrivateKey(readTextFile(file, 100_000, 'next key'))
  } catch (cause) {
    throw new CommandError(`${showText(file)} holds no private key that can be used`, exitCode.usage, 'ERR_INPUT', { cause })
  }
}

function makeLike({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): KeyObject {
  const { modulusLength = 2_048, namedCurve = 'prime256v1' } = asymmetricKeyDetails ?? {}
  switch (asymmetricKeyType) {
    case 'rsa':
      return generateKeyPairSync('rsa', { modulusLength }).privateKey
    case 'ec':
      return generateKeyPairSync('ec', { namedCurve }).privateKey
    case 'ed25519':
      return generateKeyPairSync('ed25519').privateKey
    default:
      throw new CommandError(`no key like the certificate's (${asymmetricKeyType ?? 'unknown'}) can be made; right would be to give one with --next-key`, exitCode.usage)
  }
}
