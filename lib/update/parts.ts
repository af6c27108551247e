// What an `updates` option and the functions of surface.ts need: one file of the published package, loaded by then.
export { fileSource } from './file-source.js'
export { fileStore } from './file-store.js'
export { httpsSource } from './https-source.js'
export { LivePins } from './live-pins.js'
export { signManifest } from './manifest.js'
export { redisSource } from './redis-source.js'
