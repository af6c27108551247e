// What programs name of signed pin sets. What is behind it is loaded when it is called: most programs have none.
import type { KeyObject } from 'node:crypto'
import type { HttpsSourceOptions } from './https-source.js'
import { loadUpdates } from '../late.cjs'
import type { PinSetPayload } from './manifest.js'
import type { PathWatchOptions } from './path-watcher.js'
import type { RedisClient, RedisSourceOptions } from './redis-source.js'
import type { PinSetSource } from './source.js'
import type { PinSetStore } from './store.js'

/**
 * The signed set in a file, watched: a change is noticed within a second, whether the file is overwritten, replaced by a
 * rename, or reached through a symbolic link that is swapped, as Kubernetes does with ConfigMaps and Secrets. The file and
 * its folder may be missing for a while; until they are back the set in force stays.
 *
 * @param options how the file is watched; made for file systems that send no events
 * @throws {PolicyInvalidError | TypeError} when `path` is no path, or an option cannot be used
 */
export function fileSource(path: string, options?: PathWatchOptions): PinSetSource {
  return loadUpdates().fileSource(path, options)
}

/**
 * A signed set at an `https:` address: any static host or CDN will do. It is fetched with GET over a connection of its own,
 * pinned by the bootstrap pins (and, where these are outdated, by the set in force), compressed where the server does so,
 * and only if its `ETag` has changed. `Retry-After` of a 429 or 503 is kept to. Redirects are not followed, and a proxy is used only where the
 * options name one.
 *
 * @throws {PolicyInvalidError | TypeError} when it is no `https:` URL, or an option cannot be used
 */
export function httpsSource(address: string | URL, options?: HttpsSourceOptions): PinSetSource {
  return loadUpdates().httpsSource(address, options)
}

/**
 * The signed set under a key in Redis; a message on a channel brings a change to every process within a second. Publish with
 * `MULTI`, `SET key …`, `PUBLISH channel …`, `EXEC`.
 *
 * The client is only a model: the source makes connections of its own by `duplicate()`, one that listens, and one for the
 * moment of each look at the key. The given client need not be connected, and its subscriptions, transactions and errors
 * stay its own. A lost connection is made again, and then the key is looked at, since a message may have been missed.
 *
 * @param client made by `createClient()` of the package `redis`, version 4 or later
 * @throws {PolicyInvalidError | TypeError} for anything else, and when an option cannot be used
 */
export function redisSource(client: RedisClient, key: string, options?: RedisSourceOptions): PinSetSource {
  return loadUpdates().redisSource(client, key, options)
}

/**
 * Keeps the last good set in a folder, across restarts, power cuts and several processes at once.
 *
 * Every save is a new file (mode 0600) that is complete, flushed and only then given its name, which carries the version
 * and the hash. Nothing is ever overwritten, and a file is removed only when one of a higher version is there: so no order
 * of writes, kills and readers lowers the highest version, and no lock is needed. A file whose content does not fit its name
 * is renamed to `….damaged` (where that is possible) and its content never used; its version still counts. Of a set that cannot be stored whole,
 * on a full disk say, an empty file of that name tells the version, and the failure is reported.
 *
 * What it does not do: withstand somebody who may write to the folder, and so remove it whole. Give every instance that
 * follows another signed set a folder of its own; processes that follow the same one may share it, on a local file system.
 *
 * @param folder made with mode 0700 when it is missing. A folder that everybody may write to is refused.
 * @throws {PolicyInvalidError} when `folder` is no path
 */
export function fileStore(folder: string): PinSetStore {
  return loadUpdates().fileStore(folder)
}

/**
 * Signs a payload, which is written as it stands: as JSON with several signatures.
 *
 * @throws {PolicyInvalidError} when the payload is not of the schema, or a key cannot sign
 */
export async function signManifest(payload: PinSetPayload, privateKeys: readonly KeyObject[]): Promise<string> {
  return loadUpdates().signManifest(payload, privateKeys)
}
