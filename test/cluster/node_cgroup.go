package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// MakeCgroup creates the cgroup below which the node's containers live and returns its path in each hierarchy. A
// runtime makes it when it needs it; kubelet wants it to be there.
func (n *Node) MakeCgroup() (string, error) {
	hierarchies, unified := mountedHierarchies()
	if len(hierarchies) == 0 {
		return "", errors.New("no cgroups are mounted below " + cgroupMount)
	}
	for _, hierarchy := range hierarchies {
		if err := os.MkdirAll(filepath.Join(hierarchy, n.cgroup), 0o755); err != nil {
			return "", fmt.Errorf("making the node's cgroup: %w", err)
		}
	}
	if !unified {
		return n.cgroup, nil
	}
	// In version 2, a cgroup has the controllers that its parent hands down.
	path := cgroupMount
	for element := range strings.SplitSeq(strings.TrimPrefix(n.cgroup, "/"), "/") {
		path = filepath.Join(path, element)
		controllers, err := os.ReadFile(filepath.Join(path, "cgroup.controllers"))
		if err != nil {
			return "", fmt.Errorf("making the node's cgroup: %w", err)
		}
		var enable strings.Builder
		for _, controller := range strings.Fields(string(controllers)) {
			enable.WriteString("+" + controller + " ")
		}
		if err := os.WriteFile(filepath.Join(path, "cgroup.subtree_control"), []byte(enable.String()), 0o644); err != nil {
			return "", fmt.Errorf("making the node's cgroup: %w", err)
		}
	}
	return n.cgroup, nil
}

// mountedHierarchies returns where cgroups can be made, and whether that is version 2 alone.
func mountedHierarchies() (folders []string, unified bool) {
	var stat unix.Statfs_t
	if unix.Statfs(cgroupMount, &stat) == nil && stat.Type == unix.CGROUP2_SUPER_MAGIC {
		return []string{cgroupMount}, true
	}
	candidates, _ := filepath.Glob(filepath.Join(cgroupMount, "*"))
	for _, folder := range candidates {
		info, err := os.Lstat(folder)
		// Links are second names of hierarchies that are here anyway.
		if err != nil || !info.IsDir() || unix.Statfs(folder, &stat) != nil {
			continue
		}
		if stat.Type == unix.CGROUP_SUPER_MAGIC || stat.Type == unix.CGROUP2_SUPER_MAGIC {
			folders = append(folders, folder)
		}
	}
	return folders, false
}
