import { types } from 'node:util'
import { ignoreRejection } from '../policy/late-answer.js'
import { packageOf } from './switches.js'
import type { Found } from './switches.js'

/** A function of Node's that pinning relies on, as it was when this package was loaded. */
interface Original {
  readonly name: string
  /** What it is looked up in, as whoever calls it does. */
  readonly holder: object
  readonly key: PropertyKey
  readonly original: Callable
}

type Callable = (...args: unknown[]) => unknown

/**
 * The functions that are other ones than Node's own: replaced since this package was loaded, or before it (by a preload,
 * say). The first is found by comparing them, the second by calling each once with an argument that throws at the first
 * touch, and looking whose code lies between.
 *
 * Best effort: who replaces a function can also replace what looks for it.
 *
 * @param byPackage whose code has replaced one since is asked for too, in the same way; else that one is not called
 */
export function findReplaced(byPackage: boolean): Found[] {
  const found: Found[] = []
  for (const each of originals) {
    const current = lookUp(each.holder, each.key)
    const why = current === each.original ? before(each.original, each.name) : since(current, byPackage)
    if (why) found.push({ name: each.name, ...why })
  }
  return found
}

type Replacement = Pick<Found, 'detail' | 'packages'>

/** What was found of the function when the package was loaded never changes. */
function before(original: Callable, name: string): Replacement | undefined {
  if (!judged.has(original)) judged.set(original, foreignCode(original, name))
  const files = judged.get(original)
  return files && { detail: `it was replaced before this package was loaded${where(files)}`, packages: packagesOf(files) }
}

function since(current: Callable | undefined, byPackage: boolean): Replacement {
  if (current === undefined) return { detail: 'it has been removed since this package was loaded', packages: [] }
  if (!byPackage || typeof current !== 'function') return { detail: 'it has been replaced since this package was loaded', packages: [] }
  if (!judged.has(current)) judged.set(current, foreignCode(current, ''))
  const files = judged.get(current) ?? []
  return { detail: `it has been replaced since this package was loaded${where(files)}`, packages: packagesOf(files) }
}

const judged = new WeakMap<Callable, readonly string[] | undefined>()

function where(files: readonly string[]): string {
  return files[0] === undefined ? '' : `, by ${files[0]}`
}

function packagesOf(files: readonly string[]): string[] {
  return files.map(packageOf).filter((name) => name !== undefined)
}

/**
 * The files that a call passes through besides Node's own, outermost first; `undefined` when there are none. Empty when it
 * is not Node's, and does not say whose.
 */
function foreignCode(fn: Callable, name: string): readonly string[] | undefined {
  if (types.isProxy(fn)) return []
  // Engine built-ins are no Node code: they have no frames, and one text.
  if (engineBuiltIns.has(name)) return Function.prototype.toString.call(fn).includes('[native code]') && !fn.name.startsWith('bound ') ? undefined : []
  const stack = stackOfFirstTouch(fn)
  if (stack === undefined) return []
  const files = stack.filter((file) => !file.startsWith('node:'))
  return files.length > 0 ? files : undefined
}

/** The files on the stack when the function first touches what it was given, up to ours; `undefined` when it never does. */
function stackOfFirstTouch(fn: Callable): string[] | undefined {
  const { stackTraceLimit } = Error
  // Where `Error` is frozen it stays as it is, and Node's own ten lines have to do.
  Reflect.set(Error, 'stackTraceLimit', 50)
  try {
    const trap = new Proxy({}, { get: touched, has: touched, ownKeys: touched, getPrototypeOf: touched, getOwnPropertyDescriptor: touched, set: touched })
    if (/^class\b/.test(Function.prototype.toString.call(fn))) Reflect.construct(fn, [trap, trap])
    else ignoreRejection(Reflect.apply(fn, trap, [trap, trap, trap]))
    return undefined
  } catch (error) {
    const lines = String((error as { stack?: unknown }).stack).split('\n').filter((line) => /^\s+at /.test(line))
    const ours = lines.findIndex((line) => line.includes('stackOfFirstTouch'))
    // A built-in that was written in C++ has no line.
    return lines.slice(0, Math.max(0, ours)).filter((line) => !line.includes('touched')).map(fileOf).filter((file) => file !== '')
  } finally {
    Reflect.set(Error, 'stackTraceLimit', stackTraceLimit)
  }
}

function touched(): never {
  throw new Error('touched')
}

/** `at name (file:1:2)` or `at file:1:2`; engine frames say `<anonymous>` or `native`. */
function fileOf(line: string): string {
  const [, inner] = /\(([^()]*(?:\([^()]*\)[^()]*)*)\)$/.exec(line) ?? /^\s+at (?:async )?(.*)$/.exec(line) ?? []
  const file = (inner ?? '').replace(/:\d+:\d+$/, '').replace(/^file:\/\//, '')
  return file === '<anonymous>' || file === 'native' ? '' : file
}

/** A value, or the getter. */
function lookUp(holder: object, key: PropertyKey): Callable | undefined {
  for (let object: object | null = holder; object !== null; object = Object.getPrototypeOf(object) as object | null) {
    const property = Object.getOwnPropertyDescriptor(object, key)
    if (property) return (property.get ?? property.value) as Callable | undefined
  }
  return undefined
}

const engineBuiltIns: ReadonlySet<string> = new Set(['Set.prototype.has', 'Map.prototype.get', 'Map.prototype.has'])

const originals: readonly Original[] = capture()

/** Of the modules themselves, since an `import` of an ES module does not see what is replaced later. */
function capture(): Original[] {
  const [crypto, http, https, tls] = [process.getBuiltinModule('node:crypto'), process.getBuiltinModule('node:http'), process.getBuiltinModule('node:https'), process.getBuiltinModule('node:tls')]
  const { X509Certificate } = crypto
  const publicKey = Object.getPrototypeOf(crypto.generateKeyPairSync('ed25519').publicKey) as object
  const places: Array<[string, object, readonly PropertyKey[]]> = [
    ['tls', tls, ['connect', 'createSecureContext', 'getCACertificates']],
    ['tls.TLSSocket.prototype', tls.TLSSocket.prototype, ['getPeerX509Certificate', 'getPeerCertificate', 'isSessionReused']],
    ['http.Agent.prototype', http.Agent.prototype, ['addRequest', 'createSocket', 'removeSocket', 'keepSocketAlive', 'reuseSocket']],
    ['https.Agent.prototype', https.Agent.prototype, ['createConnection', 'addRequest', 'createSocket', 'removeSocket', 'keepSocketAlive', 'reuseSocket']],
    ['crypto', crypto, ['createHash', 'createPublicKey', 'createPrivateKey', 'X509Certificate']],
    ['crypto.Hash.prototype', crypto.Hash.prototype, ['update', 'digest']],
    ['crypto.X509Certificate.prototype', X509Certificate.prototype, ['fingerprint256', 'publicKey', 'raw', 'subject', 'issuer', 'subjectAltName', 'validFrom', 'validTo', 'ca', 'issuerCertificate', 'checkHost', 'checkIP', 'checkIssued', 'verify']],
    ['crypto.PublicKeyObject.prototype', publicKey, ['export', 'type']],
    ['Set.prototype', Set.prototype, ['has']],
    ['Map.prototype', Map.prototype, ['get', 'has']]
  ]
  return places.flatMap(([place, holder, keys]) =>
    keys.flatMap((key) => {
      const original = lookUp(holder, key)
      return typeof original === 'function' ? [{ name: `${place}.${String(key)}`, holder, key, original }] : []
    })
  )
}
