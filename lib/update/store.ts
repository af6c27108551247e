/**
 * Where the last good set outlives the process. What is loaded is verified again from the trusted keys on, so a store
 * can lose a set but not forge one. What it must hold is {@link PinSetState.version}: it is the rollback protection.
 *
 * There are `fileStore` and `memoryStore` (the default); an object with these members is one as well.
 */
export interface PinSetStore {
  /** For `status()` and reports, for example a folder. */
  readonly name: string
  /**
   * `undefined` when nothing was ever saved. Where a set was saved but is damaged, its version and hash all the same (with
   * `text` undefined), and where even these are lost, a rejection: never `undefined`. Until it has been loaded once no set is
   * accepted, since an older one would not be noticed; it is tried again whenever the source would be asked.
   */
  load(): Promise<PinSetState | undefined>
  /**
   * Saves durably, all or nothing. Other processes may save at the same time: what is stored never goes down to a lower
   * version. A rejection is reported; the set is in force in this process all the same.
   */
  save(state: PinSetState): Promise<void>
  /** Called once, by the instance that was given the store. */
  close?(): void | Promise<void>
}

/** JSON-safe. */
export interface PinSetState {
  /** The highest version ever accepted; no lower one is, ever. */
  readonly version: number
  /** SHA-256 of that version's payload, base64url: the same version with other content is refused. */
  readonly hash: string
  /** The signed set itself, as it was fetched; `undefined` when it is damaged, or could not be stored whole. */
  readonly text: string | undefined
  /** Earlier signed sets that changed the signing keys, oldest first, those that it takes: they lead from the keys in the code to today's. At most 256, and 64 MiB. */
  readonly links: readonly string[]
}

/** Forgets with the process: after a restart the bootstrap pins count, and any version. The default. */
export function memoryStore(): PinSetStore {
  let kept: PinSetState | undefined
  return {
    name: 'memory',
    load: () => Promise.resolve(kept),
    save: (state) => {
      if (kept === undefined || state.version >= kept.version) kept = state
      return Promise.resolve()
    }
  }
}
